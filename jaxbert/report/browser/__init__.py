"""A trained model that fills masks in the page about its run, in plain JavaScript, without a network.

weights.py makes int8 of a model, vocabulary.py a compact form of its tokenizer, block.py the part of the page.
tokenizer.js, model.js and fill.js compute what `jaxbert fill-mask` computes, and ui.js shows it.
"""
