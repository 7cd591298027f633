"""Curves and forest plots of the report."""

from rlhf.report.charts import MAX_POINTS, Bar, Series, forest_plot, line_chart, smoothed, thinned


def test_long_curve_is_thinned_and_keeps_its_end():
    xs = [float(i) for i in range(10_000)]
    thin = thinned(Series(name="loss", xs=xs, ys=xs))
    assert len(thin.xs) <= MAX_POINTS
    assert thin.xs[-1] == 9_999.0


def test_smoothing_keeps_constants_and_short_series():
    assert smoothed([2.0] * 50) == [2.0] * 50
    assert smoothed([1.0, 5.0, 3.0]) == [1.0, 5.0, 3.0]


def test_constant_and_empty_curves_can_be_drawn():
    assert "polyline" in line_chart([Series(name="kl", xs=[1.0], ys=[0.0])])
    assert line_chart([Series(name="kl", xs=[], ys=[])]) == ""


def test_long_forest_plot_is_split():
    bars = [Bar(label=f"bar {i}", value=0.5, low=0.4, high=0.6) for i in range(20)]
    chart = forest_plot(bars)
    assert chart.count("<svg") == 2
    assert [chart.count(f">bar {i}<") for i in range(20)] == [1] * 20


def test_forest_plot_with_other_ends_is_centred():
    """0 on an axis from -2 to 2 is halfway between 46 and 350."""
    chart = forest_plot([Bar(label="x", value=0.0, low=-2.0, high=2.0)], middle=0.0, ends=(-2, 2))
    assert 'cx="198.0"' in chart
    assert 'x1="46.0" x2="350.0"' in chart


def test_chart_labels_are_escaped():
    chart = forest_plot([Bar(label="<i>x</i>", value=0.5, low=0.4, high=0.6)])
    assert "<i>" not in chart
