package broken

func Bad() int { return "x" }
