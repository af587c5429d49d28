"""What the oracles share: stubs made at run time, a REST client, a server as a child process, tables of results.

Nothing here knows how Larder works inside. The oracles are written from the documents alone, so that a mistake in
the server and a mistake in its tests cannot be the same mistake.
"""
