"""What the admin modules of every app share: formatting, page bases, the step-up login. It imports no app."""
