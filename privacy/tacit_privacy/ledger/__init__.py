"""The record of what was spent: append-only, hash-chained, signed, replayable by somebody who has only the file."""
