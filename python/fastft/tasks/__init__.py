"""Tasks: which columns, which Auto class, how labels are read, which metric.

A file a task, all of the shape of `base.Task`; beside each stands what it is made of, in the order
in which a row passes through it:

    text_classification   labels, label_names, label_faults, read_target; target: single_label,
                          multi_label, regression
    question_answering    answers, answer_faults, contexts_apart, context_windows, answer_spans,
                          answer_search, squad_metrics
    seq2seq               text_pairs, languages, target_texts, seq2seq_checks, generation,
                          text_metrics, rouge
    causal_lm, masked_lm  language_model, held_out_text, document_tokens, text_blocks, perplexity,
                          continuations, filled_masks
    chat                  conversations, messages, built_in_templates, chat_template, chat_tokens,
                          chat_notes, chat_replies

For all of them: `registry` finds a task, `columns` the columns of a split; `supervision` counts
rows from which nothing is learnt, `inference` puts a model to rows, `preview` shows two of them.
"""
