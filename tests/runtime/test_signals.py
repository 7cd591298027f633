"""Ctrl-C takes effect after an optimizer step, whichever handler the process had."""

import signal
import subprocess
import sys

import pytest

from rlhf.runtime.signals import whole_step


def test_ctrl_c_takes_effect_at_the_end_of_a_step():
    before = signal.getsignal(signal.SIGINT)
    steps = []

    def take_step():
        with whole_step():
            signal.raise_signal(signal.SIGINT)
            steps.append(1)

    with pytest.raises(KeyboardInterrupt):
        take_step()
    assert steps == [1]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("handler", "status"), [("SIG_DFL", -signal.SIGINT), ("SIG_IGN", 0)])
def test_handler_of_the_system_takes_effect_after_a_step(handler, status):
    code = (
        "import signal\n"
        "from rlhf.runtime.signals import whole_step\n"
        f"signal.signal(signal.SIGINT, signal.{handler})\n"
        "with whole_step():\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    print('whole', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, "whole\n")
