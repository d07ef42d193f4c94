"""What agents run: task definitions, task controls, metric windows and custom metrics."""
