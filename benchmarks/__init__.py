"""Measurements that anybody can repeat: ``make bench``, or one of these files by itself."""
