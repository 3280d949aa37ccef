"""Other people's tensor files as float32 arrays, and int8."""
