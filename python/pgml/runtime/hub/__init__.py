"""The Hugging Face Hub: models, data sets and pushes, each piece of work in a process of its own, an errand."""
