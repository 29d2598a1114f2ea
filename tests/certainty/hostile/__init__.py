"""A hostile SMTP and LMTP server, in a process of its own: ``python -m tests.certainty.hostile``.

It shares nothing with what it is to try: `socket`, `ssl`, threads, and a state machine of its own.
It reads one JSON object a line and answers each with another::

    {"open": {…}}      serve as this plan says               {"port": 49152}
    {"idle": 0}        end the sessions that are at rest     {"ended": 1}
    {"finish": 5}      read what is still on its way, end    {"sessions": 3, "left open": 0}
    {"transcript": 0}  what was said in the last round       {"transcript": […]}

What it takes responsibility for it appends to the plan's ledger *before* it says so. There it also
notes where it has lied so that no client can know:

- ``kept``: a content, by its hash, its sender, and for whom;
- ``unread``: for whom it kept one whose reply may have been missed;
- ``lied``: to whom it said no, and kept it all the same;
- ``shifted``: whose replies were one too many or too few, where nothing showed it in time;
- ``exceeded``: an announced limit that the client went over.
"""
