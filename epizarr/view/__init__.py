"""Looking at a store: figures of regions for print, and an interactive page in the local browser."""
