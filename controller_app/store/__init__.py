"""What outlives the controller: applied policies, their history, the allocation, the hosts that were seen."""
