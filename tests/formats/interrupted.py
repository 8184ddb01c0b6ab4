"""A program: `wproj project SOURCE -o TARGET` that gets a signal after its first tensor."""

import os
import signal
import sys

import wproj


def interrupted(apply, number):
    """`apply`, with the signal to this process after the first report."""

    def run(*arguments, **options):
        for report in apply(*arguments, **options):
            os.kill(os.getpid(), number)
            yield report

    return run


if __name__ == "__main__":
    from wproj_cli.main import main

    # A process that a script starts in the background ignores Ctrl-C; this one must not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    source, target, number = sys.argv[1:]
    wproj.apply = interrupted(wproj.apply, int(number))
    rule = ["-r", "* max_norm=0.1 axis=0", "-x", "*/1"]
    sys.argv = ["wproj", "project", source, *rule, "-o", target]
    sys.exit(main())
