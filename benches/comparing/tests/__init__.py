"""What needs no server: python3 -m unittest discover -s benches -t benches."""
