"""Decisions: pure rooms without socket, clock, thread, process or file. Time comes in as ``now``, in seconds."""
