"""What replicas make of a traffic, request by request: the streams and traces that come, the fleet, the answer."""
