"""Pictures of one recording on its way from sound to text, for people to look at."""

OF_SOUND = ("waveform", "spectrum", "spectrogram", "mel", "log-mel", "augment", "spec-augment")
OF_MODEL = ("cnn", "emissions", "alignment")
IN_TERMINAL = ("waveform", "spectrogram", "log-mel", "emissions")
