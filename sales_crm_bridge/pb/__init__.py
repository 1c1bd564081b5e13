"""Generated messages of the Sales contract, in a descriptor pool of our own. Written by hand: this file alone.

The platform's own package of these messages may be installed in the same environment. It lies in protobuf's default pool, which
takes each file path once; so ours never enter it. Three consequences:

- The well-known types of our messages are classes of our pool. Set their fields; ``CopyFrom`` refuses the public class.
- ``GetOptions()`` answers in the public pool's class, which knows none of our extensions: see ``contract.descriptors``.
- A message of the platform's package is not one of ours, even if the names are equal: hand over bytes.
"""

from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
"""Holds the contract's files and the files of Google that they import."""

for _file in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
    POOL.AddSerializedFile(_file.DESCRIPTOR.serialized_pb)
