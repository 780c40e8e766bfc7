"""Training of anything with an objective; it knows neither metrics nor MLflow."""
