"""Model × chip → programs."""
