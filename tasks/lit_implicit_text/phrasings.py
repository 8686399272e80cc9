"""How the built-in corpus asks what a word means: directly, or at the end of a little story.

A question names the domain by its name, by a person who works in it, or by a place of it. In a
story people are introduced by what they do, or by whom they work with, and one of them is asked
for. So the domain is at the end of a chain: who is meant, with whom that person works, what the
latter does, and what the word means there. Every link is a look elsewhere in the story, which is
told in any order, beside a second chain that leads to another sense of the same word.
"""

DIRECT = {
    "train": (
        "What does {word} mean in {domain}?",
        "What is {word} in {domain}?",
        "Explain {word} as the term is used in {domain}.",
        "In {domain}, what is meant by {word}?",
        "I read about {word} in a book on {domain}. What is it?",
        "You hear the word {word} {place}. What is it?",
        "Somebody {place} mentions {word}. What do they mean?",
        "{Place} they talk about {word}. What is meant by it?",
    ),
    "val": ("Please define {word} for a class on {domain}.",),
    "test": (
        "Tell me the meaning of {word} in {domain}.",
        "What do they mean by {word} {place}?",
    ),
}
"""Questions about a domain, by split; those of validation and test are asked nowhere else."""

PERSONAL = {
    "train": (
        "What does {person} mean by {word}?",
        "Tell me what {word} is to {person}.",
        "{Person} speaks of {word}. What is meant?",
        "Describe {word} in the words of {person}.",
    ),
    "val": ("What would {person} say about {word}?",),
    "test": (
        "How would {person} explain {word}?",
        "What is {word}, if one asks {person}?",
    ),
}
"""Questions about a person, by split: somebody of a trade, or the hero of a story."""

TRADE = "{name} is {person}."
LINK = "{name} works with {other}."

LINKS = (0, 1, 2)
"""Lengths of stories: from the person who is asked for to the one whose trade is told."""

NAMES = (
    "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ida", "Jonas", "Kate",
    "Leo", "Maria", "Noah", "Olga", "Paul",
)  # fmt: skip
