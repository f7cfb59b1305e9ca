"""One tuning job: checking what was asked for, splitting the rows, training, and sending the model."""
