"""Run as a program, by any Python that has peft: the logits of a checkpoint with an adapter, to a .npy file.

python peft_logits.py CHECKPOINT ADAPTER BATCH.npz OUT.npy
"""

import sys

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForSeq2SeqLM

checkpoint, adapter, batch, out = sys.argv[1:]
model = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(checkpoint), adapter).eval()
arrays = {name: torch.from_numpy(array) for name, array in np.load(batch).items()}
with torch.no_grad():
    logits = model(input_ids=arrays["ids"], attention_mask=arrays["mask"], labels=arrays["labels"]).logits
np.save(out, logits.numpy())
