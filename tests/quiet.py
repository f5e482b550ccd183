"""Options of a Trainer on one CPU that says and writes nothing of its own. Nothing here is a test."""

QUIET = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
    "devices": 1,
}
