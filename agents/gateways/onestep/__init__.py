"""The dialect of OneStep task runtimes: WebSocket `onestep-agent.v1` and the presence beacon."""
