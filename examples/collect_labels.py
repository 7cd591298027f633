"""Collect rankings in a label store and read the agreement of annotators. A few seconds.

    python examples/collect_labels.py [STORE]

`rlhf label serve --store STORE` offers the same store to people in a browser.
"""

import sys
from pathlib import Path

import rlhf

STORE = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/examples/labels.sqlite")
QUESTIONS = {
    "Name a colour.": ["Red.", "A colour is a colour.", "Blue, for example."],
    "What is 3 plus 4?": ["7", "The answer is 7.", "34"],
    "Say hello.": ["Hello!", "hello", "Goodbye."],
}
RANKS = {  # annotator -> the ranks that they give, question by question
    "Ann": [[1, 3, 2], [2, 1, 3], [1, 2, 3]],
    "Tom": [[1, 3, 1], [1, 1, 3], [1, 1, 3]],
    "Kim": [[2, 3, 1], [2, 1, 3], [1, 2, 3]],
}

STORE.parent.mkdir(parents=True, exist_ok=True)
STORE.unlink(missing_ok=True)
with rlhf.LabelStore(str(STORE)) as store:
    for annotator, rankings in RANKS.items():
        for (prompt, responses), ranks in zip(QUESTIONS.items(), rankings, strict=True):
            store.add(prompt, responses, ranks=ranks, annotator=annotator)
    print(store.agreement())
    rows = store.rankings()
print(f"{len(rows)} rankings, the first: {rows[0]}")
