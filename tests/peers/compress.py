"""Compresses DICOM files in place with pydicom's encoders.

usage: compress.py TRANSFER_SYNTAX_UID FILE...
"""

import sys

import pydicom

for path in sys.argv[2:]:
    dataset = pydicom.dcmread(path)
    dataset.compress(sys.argv[1], generate_instance_uid=False)
    dataset.save_as(path)
