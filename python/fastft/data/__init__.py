"""From files of text to padded batches; a stage a module, each importing only stages before it.

`sources` reads rows, `tokenizer` turns text into ids, `token_dataset` keeps them, `batch_sampler`
plans the batches, `collator` pads one, `dataloader` puts the parts together. Nothing is imported
here, so that `import fastft.data` stays free of torch, transformers, numpy and pyarrow.
"""
