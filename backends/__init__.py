"""Models of servers with OpenAI's protocol and of llama.cpp behind `MlBridge`, and chains; see docs/backends.md."""
