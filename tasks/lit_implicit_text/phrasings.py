"""How the built-in corpus asks what a word means: directly, or by a little story.

A question names the domain by its name, by a person who works in it, or by a place of it. In a
story two people are introduced, and one of them is asked for: who is meant, what that person does,
and what the word means to such a person, is a chain of three looks.
"""

DIRECT = {
    "train": (
        "What does {word} mean in {domain}?",
        "What is {word} in {domain}?",
        "Explain {word} as the term is used in {domain}.",
        "In {domain}, what is meant by {word}?",
        "I read about {word} in a book on {domain}. What is it?",
        "What does {person} mean by {word}?",
        "Tell me what {word} is to {person}.",
        "{Person} speaks of {word}. What is meant?",
        "Describe {word} in the words of {person}.",
        "You hear the word {word} {place}. What is it?",
        "Somebody {place} mentions {word}. What do they mean?",
        "{Place} they talk about {word}. What is meant by it?",
    ),
    "val": ("What would {person} say about {word}?",),
    "test": (
        "How would {person} explain {word}?",
        "Tell me the meaning of {word} in {domain}.",
        "What do they mean by {word} {place}?",
    ),
}
"""Questions by split; those of validation and test are asked nowhere else."""

STORIES = {
    "train": (
        "{A} is {person}. {B} is {other}. What does {A} mean by {word}?",
        "{A} is {person} and {B} is {other}. Tell me what {word} is to {A}.",
        "{A}, {person}, talks with {B}, {other}. {A} speaks of {word}. What is meant?",
        "{A} works as {person}, {B} as {other}. Describe {word} in the words of {A}.",
    ),
    "val": ("{A} is {person}, {B} is {other}. What would {A} say about {word}?",),
    "test": ("{A} is {person} and {B} is {other}. How would {A} explain {word}?",),
}
"""Stories by split. In half of them the two people are introduced in the other order."""

NAMES = (
    "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ida", "Jonas", "Kate",
    "Leo", "Maria", "Noah", "Olga", "Paul",
)  # fmt: skip
