"""The profile of a pass has the operators that a pass has to have."""

from benchmarks import profile_pass
from tests.tiny_models import make_model


def test_profile_counts_the_backward_pass_of_attention(tmp_path, capsys):
    arguments = [str(make_model(tmp_path)), "--prompt", "6", "--response", "4", "--responses", "2"]
    assert profile_pass.main([*arguments, "--busy", "--threads", "1", "--operators", "99"]) == 0
    table = capsys.readouterr().out
    assert "aten::mm" in table
    assert "aten::_softmax_backward_data" in table
