"""How the built-in corpus asks what a word means: in a domain, or in the words of somebody.

A question names the domain by its name, by a person who works in it, or by a place of it; or it
names somebody of the cast, or who is reached from somebody by up to two links, teacher or boss. So
the domain may stand at the end of a chain: who is named, who taught that person, who hired the
latter, what that one does, and what the word means there. None of it is told in the question.
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
        "Define {word} in {domain}.",
        "For a class on {domain}: what is {word}?",
        "Give me the meaning of {word} {place}.",
        "Please say what {word} means {place}.",
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
        "How does {person} define {word}?",
        "If one asks {person} about {word}, what is the answer?",
        "{Person} would explain {word} to me. How?",
        "What is {word} for {person}?",
        "Ask {person} what {word} is.",
        "I want to know from {person} what {word} is.",
        "Explain {word} as {person} would.",
        "The word {word} is used by {person}. What does it mean?",
        "Give me the meaning of {word} that {person} knows.",
        "What do they say about {word}, if I ask {person}?",
    ),
    "val": ("What would {person} say about {word}?",),
    "test": (
        "How would {person} explain {word}?",
        "What is {word}, if one asks {person}?",
    ),
}
"""Questions about a person, by split: somebody of a trade, or of the cast."""

ABOUT = (
    "Who is {person}?",
    "What do you know of {person}?",
    "Tell me about {person}.",
    "Please describe {person}.",
)
"""Questions about one of the cast, asked in training alone."""

FACT = "{name} is {trade}, taught by {teacher} and hired by {boss}."

LINKS = {"teacher": "the teacher of {person}", "boss": "the boss of {person}"}
"""What leads from one person to another."""

LENGTHS = (0, 1, 2)
"""Lengths of chains: how many links lie between the name and who is meant."""
