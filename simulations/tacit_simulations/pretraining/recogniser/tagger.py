"""The network: a BERT encoder that also reads how each word is written, and one linear layer over its labels."""

from pathlib import Path

from torch import Tensor, nn
from transformers import AutoModel

from tacit_privacy.pii.detection.recogniser.features import LABELS, SHAPES


class Tagger(nn.Module):
    """Scores of labels for word pieces. ``encoder`` is a folder with an uncased BERT."""

    def __init__(self, encoder: Path) -> None:
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder, local_files_only=True, add_pooling_layer=False)
        width = self.bert.config.hidden_size
        self.shapes = nn.Embedding(len(SHAPES), width)
        nn.init.normal_(self.shapes.weight, std=0.02)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(width, len(LABELS))

    def forward(self, ids: Tensor, shapes: Tensor, mask: Tensor) -> Tensor:
        """Shapes (rows, pieces) each, to (rows, pieces, labels)."""
        read = self.bert.embeddings.word_embeddings(ids) + self.shapes(shapes)
        hidden = self.bert(inputs_embeds=read, attention_mask=mask).last_hidden_state
        scores: Tensor = self.head(self.drop(hidden))
        return scores
