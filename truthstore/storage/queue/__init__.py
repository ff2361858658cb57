"""The durable queue, and the loop that delivers it."""

from truthstore.storage.queue.delivery import DeliveryLoop
from truthstore.storage.queue.queue import Delivery, DurableQueue, Send
from truthstore.storage.queue.rejected import Entry, Rejected, is_item_error

__all__ = ["Delivery", "DeliveryLoop", "DurableQueue", "Entry", "Rejected", "Send", "is_item_error"]
