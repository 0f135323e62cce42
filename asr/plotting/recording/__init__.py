"""Pictures of one recording at each stage of recognition, from the waveform to the text."""

OF_SOUND = (
    *("waveform", "spectrum", "spectrogram", "mel", "log-mel"),
    *("augment", "voices", "spec-augment"),
)
OF_MODEL = ("cnn", "emissions", "alignment")
OF_CLASSIFIER = ("cnn", "pooling")
IN_TERMINAL = ("waveform", "spectrogram", "log-mel", "emissions")
