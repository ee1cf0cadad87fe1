"""Receivers that tests POST to, one family.

`wire.Receiver` runs a behaviour on each connection, in a thread of its own. For fuzzers,
`scripted.ScriptedReceiver` plays a script on one connection at a time. Both stand on
`wire.Listener`. Two others are no test code: the participants of the demo, which people also start
by hand (`fl_notifications_cli/participants.py`), and those of the benchmarks, which run in
processes of their own and so take nothing from what is measured (`benchmarks/servers.py`).
"""
