"""`python -m recsys_vae` is the command `recsys-vae`."""

from recsys_vae.cli import main

if __name__ == "__main__":
    main()
