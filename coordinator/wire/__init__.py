"""The wire: ``codec`` (hardened XML-RPC both ways), ``server`` (takes turns), ``client`` (small).

Nothing is imported here, since a Processor needs the client alone.
"""
