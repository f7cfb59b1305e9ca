"""What the user says about a job: checked, completed, and the columns it names."""
