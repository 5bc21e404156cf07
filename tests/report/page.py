"""What a strict reader of an HTML page sees: its tags in order, its nesting, its text."""

from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "link", "input", "wbr"}


class Page(HTMLParser):
    """``tags`` are (name, attributes) in order; ``faults`` are tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.faults, self.open, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        self.faults += self.open

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), f"an attribute twice in {tag}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            if self.tags[-1][0] == "wbr" and self.texts:  # a place to break a line, and no space
                self.texts[-1] += data
            else:
                self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    @property
    def skeleton(self):
        """Tags with the names of their attributes: what markup there is, whatever the words."""
        return [(tag, sorted(attributes)) for tag, attributes in self.tags]

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]
