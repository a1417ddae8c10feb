include test/stock/stock.mk
