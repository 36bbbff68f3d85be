"""Flower's Grid over functions of this process: a node is whatever answers a message, or says nothing at all."""

from collections.abc import Callable, Iterable

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from tacit_simulations.grid import OneRunGrid

Node = Callable[[Message], Message | None]


class LocalGrid(OneRunGrid):
    """``nodes`` may change at any time. Replies lie ready at once."""

    def __init__(self, nodes: dict[int, Node]) -> None:
        super().__init__()
        self.nodes = nodes
        self.sent: list[Message] = []
        self._replies: dict[str, Message] = {}

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        names = []
        for message in messages:
            self.sent.append(message)
            names.append(f"m{len(self.sent)}")
            message.metadata.__dict__["_message_id"] = names[-1]
            reply = self.nodes[message.metadata.dst_node_id](message)
            if reply is not None:
                self._replies[names[-1]] = reply
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(name) for name in list(message_ids) if name in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))


def client_node(
    app: ClientApp, partition: int, partitions: int, run_config: dict[str, bool | float | int | str]
) -> Node:
    """A node as Flower's simulation runtime makes one: the ClientApp, and a state that lasts for the run."""
    context = Context(
        run_id=1,
        node_id=partition + 1,
        node_config={"partition-id": partition, "num-partitions": partitions},
        state=RecordDict(),
        run_config=run_config,
    )
    return lambda message: app(message, context)
