"""Programs that use Tilewright, and the real models they run."""
