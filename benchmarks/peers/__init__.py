"""Other task farms and pools, each run by a small program in an environment of its own.

``python -m benchmarks.peers.NAME '{"variant": ..., "work": ..., ...}'`` does what :mod:`benchmarks.peers.order`
describes and prints one line of JSON. Nothing here imports ``coordinator``, but for the demonstration's own work.
"""
