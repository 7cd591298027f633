"""Markdown of models and users as sanitized HTML."""

from rlhf.web.markdown import render


def test_markdown_keeps_structure_and_drops_active_content():
    assert render("**b** `c`") == "<p><strong>b</strong> <code>c</code></p>\n"
    assert "<script" not in render("<script>alert(1)</script>")
    assert "<img" not in render("![x](http://tracker.example/x.png)")
    assert "href" not in render("[x](javascript:alert(1))")
    link = render("[x](https://example.org)")
    assert 'rel="noopener noreferrer nofollow"' in link
