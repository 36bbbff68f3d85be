"""What coordinates: sampling, rounds, aggregation, storage. Rests on privacy; never imports clients."""
