"""From rows to what a step learns from: reading, splitting, tokens, packed batches."""
