"""What every app may import: errors, environment, batching, clean data. It imports no app."""
