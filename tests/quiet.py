"""Options of a Trainer on one CPU that prints and writes nothing. Nothing here is a test."""

QUIET = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
    "devices": 1,
}
