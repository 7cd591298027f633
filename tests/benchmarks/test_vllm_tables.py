"""Tables of the benchmarks with vLLM servers, by literal numbers."""

from benchmarks import rollout_adapters, score_servers


def test_ways_to_send_lora_policies_have_medians_and_ranges():
    def turns(*rates):
        return [{"weights": 0.5, "rate": rate, "gap": 0.01} for rate in rates]

    lines = rollout_adapters.table({"merged": turns(10, 30, 20), "adapter": turns(8, 8, 9)})
    assert lines[2:] == [
        "| merged | 0.50 (0.50 to 0.50) | 20 (10 to 30) | 0.0100 (0.0100 to 0.0100) |",
        "| adapter | 0.50 (0.50 to 0.50) | 8 (8 to 9) | 0.0100 (0.0100 to 0.0100) |",
    ]


def test_scores_of_two_servers_are_compared():
    """|2.5 - 2.25| is the largest difference, and 2.5 - 1 the range of the first server's."""
    rates = {"rlhf": [10.0, 30.0, 20.0], "vLLM": [5.0, 5.0, 5.0]}
    lines = score_servers.table(rates, {"rlhf": [1.0, 2.5], "vLLM": [1.0, 2.25]})
    assert lines[2:] == [
        "| rlhf | 20.0 (10.0 to 30.0) |",
        "| vLLM | 5.0 (5.0 to 5.0) |",
        "",
        "Scores differ by 0.2 at most; they range over 1.5.",
    ]


def test_responses_are_drawn_the_same_each_time():
    texts = score_servers.draw_responses(5)
    assert texts == score_servers.draw_responses(6)[:5]
    assert len({len(text.split()) for text in texts}) > 1
