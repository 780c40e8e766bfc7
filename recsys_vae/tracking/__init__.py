"""MLflow: runs, the served model, the registry. No other room but this one imports MLflow."""
