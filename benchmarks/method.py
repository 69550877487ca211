"""How the survey measures: a section of its page, with the numbers of the plan filled in."""

from __future__ import annotations

METHOD = """
## Method

**Who.** Each row compares Tilewright with

- onnxruntime as it is by default, where its threads spin for a while after a run, ready for the next;
- onnxruntime without spinning (`session.intra_op.allow_spinning` = 0);
- onnxruntime on one thread, where the others have more: small models can be faster so;
- OpenVINO in float32 (`INFERENCE_PRECISION_HINT` f32, `DYNAMIC_QUANTIZATION_GROUP_SIZE` 0, `PERFORMANCE_HINT` LATENCY,
  `INFERENCE_NUM_THREADS`); and for models with weights of 8 bits also without the second setting: by default, and where
  the processor has VNNI, it rounds what those multiply to 8 bits as well.

All get the same arrays, and give arrays that belong to the caller. On one thread nothing spins, and the first stands
for the first three. A peer that cannot load or run a model, or crashes, is left out of the row, and the page says why.

**How.** All contenders of a row live in one process, and each row has a process of its own. Time goes by in rounds, in
which every contender has one turn; each round begins with another. A turn first waits until the process uses no
processor for 5 ms (at most 0.3 s), so that no runtime is charged for the spinning threads of the one before. Then comes
a run that is not timed, and timed runs for {plan.turn:g} s, at least one, whose median is the turn's time. There are
{plan.least} to {plan.most} rounds, until {plan.seconds:g} s are over; at least two where a run takes seconds.

**What.** The times are medians over all rounds; the fastest peer, in bold, is the one with the least, of those whose
error is within what the check of `tw.compile` allows, and onnxruntime, whatever its fast 8-bit products cost it; the
others have their error beside their time. The ratio is its
time over ours within a round: the table shows the median over the rounds, and the quartiles. Above 1, Tilewright is
faster than all the others; below, it is a loss, and says so. Which peer is the fastest is chosen after the fact, which
favours the peers where they are close.

**In turn** is the ratio to the fastest setting of onnxruntime where single runs alternate and nobody waits: what a
program sees that uses both. There spinning threads take the processors from whoever comes next.

**Error** is that of the worst element, relative to the output's largest magnitude, against onnxruntime with exact 8-bit
products; `> x` where it is more than the check of `tw.compile` allows for the model. The errors of the others are in
the JSON file: without VNNI, onnxruntime's fast 8-bit products, which it takes by default, cut large sums off.
The results of its DynamicQuantizeLSTM for batches differ with the number of threads (tashkeel-rawi at batch 8: by 0.09
of the scale between one and two); the error is against a run with a thread for each sequence.

**Over floor** is our time over that of as many operations in multiply-adds that need no memory, on as many threads: the
median over pairs of neighbouring runs, which a busy machine slows down alike. It may be below 1 where less is done or
instructions do more: Winograd's filtering needs fewer products, and VNNI and AMX multiply narrower numbers faster
(float32 in pieces that hold all of its bits).

**Over roofline** is our time over what the kernels of the model take where each of them runs at the multiply-add peak
that `model.report()` measures, or reads its inputs and writes its outputs at the bandwidth of copying memory, whichever
takes longer. What stays in the caches goes
by faster; the weights of a recurrent layer, which are read in each step, are counted once.
"""
